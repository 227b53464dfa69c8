"""What every process shares: requests, recipes, the job record, the queue, and the words for what went wrong."""
