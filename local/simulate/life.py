"""Lives through a story on a deployed stack, a day at a time."""

from collections.abc import Callable
from datetime import date

from local.simulate.shop import Shop
from local.simulate.story import Story, Webhooks


def live(story: Story, shop: Shop, day_is_over: Callable[[date], None]) -> None:
    """Every day of the story, the calm ones at its end included. day_is_over: told of each."""
    for day in story.calendar:
        _live(story, shop, day)
        day_is_over(day)


def _live(story: Story, shop: Shop, day: date) -> None:
    shop.begin(day)
    webhooks = []
    for subscriber in story.subscribers:
        if subscriber.created == day:
            shop.subscribe(subscriber, day)
        for action in subscriber.actions.get(day, ()):
            if isinstance(action, Webhooks):
                webhooks.append((subscriber, action))
            else:
                shop.act(subscriber, action)
    if story.is_turned_off_on(day):
        shop.send((subscriber, Webhooks(1)) for subscriber in story.caught(day))
        shop.turn_charging_off(story.seconds_in(day))
    if story.is_turned_on_on(day):
        shop.start_sweep()
        shop.turn_charging_on(story.seconds_in(day))
    sweeps = story.sweeps(day)
    if sweeps:
        if day in story.killed_sweeps:
            shop.kill_sweep(*story.killed_sweeps[day])
        shop.start_sweep()
    shop.send(webhooks)  # while the sweep is at work
    shop.until_all_is_done()
    for _ in range(sweeps - 1):
        shop.start_sweep()
        shop.until_all_is_done()
    shop.end_of_trouble()
