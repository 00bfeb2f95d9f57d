"""The only way to the API server, and to the drivers: requests, watches, leadership.

What other libraries raise is converted here (see `errors`); what comes back is plain JSON, since
typed models of a pod cost thirty times what parsing it does.
"""
