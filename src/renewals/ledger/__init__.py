"""The storage of renewals and subscriptions, and the steps that change them."""
