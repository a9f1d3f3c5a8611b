"""What every door does with a call: who makes it, by which rules, how much room and time it has, and how it ended."""
