"""Before the first deployment: `python -m scripts.preflight` asks the account and Stripe what would go wrong.

It takes the words that `sam deploy --parameter-overrides` will be given, and changes nothing anywhere.
"""
