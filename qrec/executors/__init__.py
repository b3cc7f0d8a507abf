"""The executors: where a command runs and what can be done to it afterwards."""
