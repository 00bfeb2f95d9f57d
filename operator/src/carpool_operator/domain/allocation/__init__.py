"""Who gets which GPU: one interface, behind it the ledger, what is eligible, and the policies."""
