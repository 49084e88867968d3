"""The AWS of the local stack: MiniStack, with the gaps closed that our functions and our workflow would fall into.

The emulator runs in its own environment (`.envs/emulator`), in the foreground, until terminated. IAM is enforced for
the roles of functions; the key `test` with the secret `test` is the account's root user.

The emulator changes MiniStack in memory by replacing pieces of MiniStack's source: `patching` explains how. Every other
module of the package says which behaviour the module changes. MiniStack reads its settings on import. No module may
therefore import MiniStack before `__main__` has set the settings.
"""
