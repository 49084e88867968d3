"""The console of the local stack: a read-only web page with subscriptions, renewals, receipts and mails.

`python -m local.console --port 4566` shows the stack on port 4566. The command prints a line, {"url":
"http://127.0.0.1:PORT"}, and serves until terminated. `make up` starts the console.

Shown names, ids and mails may come from strangers. All shown text is escaped, no page runs a script except the
console's own, and a mail's HTML is shown in a frame that runs no scripts. The console answers only to the host names
127.0.0.1 and localhost: a foreign site cannot read the console through a host name that resolves to this machine.
"""
