"""The check before the first deployment: `python -m scripts.preflight` asks AWS and Stripe what would go wrong.

The command takes the words that `sam deploy --parameter-overrides` will be given, and changes nothing anywhere.
"""
