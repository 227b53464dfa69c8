"""What every process shares: requests, recipes, the job record, the queue, the media store, and the words for what went wrong."""
