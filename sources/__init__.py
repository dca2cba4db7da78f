"""What publishes events: a simulated city and the replay of files of real measurements."""
