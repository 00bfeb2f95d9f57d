"""From input files to work units with identities, before Spark starts."""
