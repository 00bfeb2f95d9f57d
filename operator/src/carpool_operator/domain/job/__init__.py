"""The life of a job: from what was observed of it to what is to be done next, as pure functions."""
