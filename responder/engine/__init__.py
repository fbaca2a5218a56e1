"""What happens over time: folding the journal, opening incidents, running plans, delivering messages."""
