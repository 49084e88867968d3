"""Subscriptions, for people at a terminal: `python -m scripts.subscriptions COMMAND`.

Reaches AWS, or the local stack, by the AWS profile of the environment, and finds everything by the outputs of the
stack. What it tells and does is what the API tells and does, by the same code; each change is recorded with the name of
who made it.
"""
