"""What a renewal is: periods, money, dunning, mails, refunds, and their rules. Nothing here reads or writes."""
