"""The Discord process: intake, status messages, delivery. It never imports torch; it speaks to workers through `jobs`."""
