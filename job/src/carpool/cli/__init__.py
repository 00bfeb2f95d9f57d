"""The command `carpool`: one module a subcommand, all output to the terminal lives here."""
