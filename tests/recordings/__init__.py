"""Recordings of the product's calls in every unit test show whether a change of code changes the product's behaviour.

A recording holds all calls of DynamoDB, S3, SES, SQS and the gateway in the in-memory world, with their values and in
their order, and the answers of the API and the webhook. `calls` keeps a digest for every test; `actions.txt`,
`mails.txt` and `answers.txt` keep, for all tests together, every kind of action, mail and answer in words. A test whose
calls differ from its recording fails, and names the kinds of calls that are new or gone.

    python -m tests.recordings compare tests/unit/test_charge.py   # shows every call that differs from the last commit
    python -m tests.recordings accept tests/unit/test_charge.py    # records the tests' present calls as right

Both commands take files or tests as pytest names them; nothing is accepted without being named. Where two branches
recorded the same tests, take the files of either branch and accept the tests again. A test without a recording passes.

Decision: D187 (DECISIONS.md).
"""
