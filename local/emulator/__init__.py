"""The AWS of the local stack: MiniStack, with the gaps closed that our functions and our workflow would fall into.

Runs in an environment of its own (`.envs/emulator`), in the foreground, until it is terminated. IAM is enforced
for the roles of functions; the key `test` with the secret `test` is the account's root.

MiniStack is changed in memory, by replacing pieces of its source: `patching` says how. Each other module here says what
it changes. MiniStack reads its settings when it is imported, so that nothing here imports it before `__main__` has set
them.
"""
