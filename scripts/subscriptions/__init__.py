"""Subscriptions, for people at a terminal: `python -m scripts.subscriptions COMMAND`.

The commands reach AWS, or the local stack, by the AWS profile of the environment. The outputs of the stack tell the
commands the names of the stack's tables, queues, functions and secrets. The commands use the API's own code, so answers
and changes equal the API's. Every change is recorded with the name of the person who ran the command.
"""
