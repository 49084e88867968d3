"""Lives through a story on a deployed stack, day by day."""

from collections.abc import Callable, Iterator
from datetime import date

from local.simulate.happenings import Subscriber, Webhooks
from local.simulate.shop import Shop
from local.simulate.story import Story


def live(story: Story, shop: Shop, day_is_over: Callable[[date], None]) -> None:
    """Live every day of the story, including the calm days at the end. day_is_over: called after every day."""
    for day in story.calendar:
        _live(story, shop, day)
        day_is_over(day)


def _live(story: Story, shop: Shop, day: date) -> None:
    shop.begin(day, application_is_down=day in story.silent)
    webhooks = list(_act(story, shop, day))
    if story.is_turned_off_on(day):
        shop.send((subscriber, Webhooks(1)) for subscriber in story.caught(day))
        shop.turn_charging_off(story.seconds_in(day))
    if story.is_turned_on_on(day):
        shop.start_sweep()
        shop.turn_charging_on(story.seconds_in(day))
        if day not in story.troubled:
            shop.later_tries()
    sweeps = story.sweeps(day)
    if sweeps:
        if day in story.killed_sweeps:
            shop.kill_sweep(*story.killed_sweeps[day])
        shop.start_sweep()
    shop.send(webhooks)  # while the sweep runs
    shop.until_all_is_done()
    for _ in range(sweeps - 1):
        if day not in story.troubled:
            shop.later_tries()
        shop.start_sweep()
        shop.until_all_is_done()
    shop.end_of_trouble()
    _end(story, shop, day)


def _end(story: Story, shop: Shop, day: date) -> None:
    """Play the evening: mails are requested, the catch-up finds lost events of the gateway, and mails bounce."""
    for subscriber, periods in story.asked_for_mails(day):
        shop.ask_for_mails(subscriber, periods)
    shop.catch_up(day)
    shop.return_mails(day, story.vanished_by(day))


def _act(story: Story, shop: Shop, day: date) -> Iterator[tuple[Subscriber, Webhooks]]:
    """Carry out the day's actions of customers and others, and yield the webhooks to send meanwhile."""
    if day in story.unreadable:
        shop.send_what_nobody_can_read()
    for subscriber in story.subscribers:
        if subscriber.created == day:
            shop.subscribe(subscriber, day)
        for gone in story.vanished[subscriber.id]:
            if gone.corrected == day:
                shop.correct_address(subscriber, gone.then)
        for action in subscriber.actions.get(day, ()):
            if isinstance(action, Webhooks):
                yield subscriber, action
            else:
                shop.act(subscriber, action)
