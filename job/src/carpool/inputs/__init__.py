"""What a job reads: files on any storage, staged locally, and videos as exactly known frames."""
