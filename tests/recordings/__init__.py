"""What the product does at its seams in each unit test, recorded: a change of code that changes none of it is seen to.

Recorded are all calls of DynamoDB, S3, SES, SQS and the gateway in the in-memory world, in their order and with their
values, and what the API and the webhook answer. Of each test a digest is kept (`calls`), and of all tests together each
kind of action (`actions.txt`), mail (`mails.txt`) and answer (`answers.txt`), in words. A test whose calls are others
than recorded fails, and says which kinds are new or gone.

    python -m tests.recordings compare tests/unit/test_charge.py   # each call that differs from the last commit's
    python -m tests.recordings accept tests/unit/test_charge.py    # what these tests do now is right

Both take files or tests as pytest names them. Nothing is accepted unless it is named. Where two branches recorded the
same tests, take either branch's files and accept again. A test without a recording passes.
"""
