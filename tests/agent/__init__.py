"""The agent and what runs units for it."""
