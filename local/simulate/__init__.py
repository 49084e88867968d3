"""`make simulate`: a year on a deployed stack, offline and hostile, that proves that nothing is doubled or lost.

    story       what will happen, all of it drawn from the seed
    shop        how it is done to the deployed system: rows, cards, webhooks, clocks, sweep, post, what goes wrong
    life        the days, one after the other
    expected    what must have been charged, worked out beside the product
    evidence    charges, ledger, receipts, mails and rows, held against that
    report      the table and the picture

What is deployed is what `make up` deploys: the same functions, workflow, queue and template. Only time passes faster.
Each subscription lives on its `test_clock`, the gateway has a clock of its own, a queue's visibility timeouts end with
the day, and a workflow waits a hundredth of what it says before a retry. The schedule is played by the simulation.
"""
