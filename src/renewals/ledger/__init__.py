"""Where renewals and subscriptions are kept, and the steps in which they change."""
