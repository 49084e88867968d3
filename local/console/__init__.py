"""The console of the local stack: a read-only web page of its subscriptions, renewals, receipts and mails.

`python -m local.console --port 4566` looks at the stack on that port, prints one line, {"url": "http://127.0.0.1:PORT"},
and serves until it is terminated. `make up` starts it.

What is shown may have been written by anybody: names, ids, mails. It is escaped, no page runs a script but the
console's own, and a mail's HTML stands in a frame that runs none. Another site's page cannot read the console by a name
that leads to this machine: it answers to 127.0.0.1 and localhost alone.
"""
