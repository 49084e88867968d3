"""`make simulate`: a hostile year on a deployed stack, offline, to prove that no renewal is doubled or lost.

    happenings  what can happen: the actions of customers and others, the failures, and the subscribers
    drafts      draws a subscriber with all that happens to the subscriber
    story       the year: all subscribers, and the days on which parts of the system stand still
    shop        carries out events on the deployed system: rows, cards, webhooks, clocks, sweep, mails, failures
    bank        refunds in the gateway's dashboard, refunds that fail later, disputes
    life        the days, one after the other
    expected    the charges that must happen, computed independently of the product
    evidence    compares charges, ledger, receipts, mails and rows with the expected charges
    disputes    compares disputes with ledger, timeline and heard events
    application hears events as the team's application does, and is down on some days
    news        compares the heard events with the expected charges
    report      the table and the picture

The simulation deploys the same functions, workflow, queue and template as `make up`. Only time passes faster. Every
subscription lives on its `test_clock`, the gateway has its own clock, a queue's visibility timeouts end with the day,
and a workflow waits a hundredth of the defined pause before a retry. The simulation replaces the schedule.
"""
