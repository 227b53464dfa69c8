"""The Discord process: intake, status messages, delivery. It never imports torch; workers it meets in `jobs` alone."""
