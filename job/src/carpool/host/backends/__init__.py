"""What runs the handler: one module a backend, all behind `base.Backend`."""
