"""A fault campaign: qrec is killed at any moment, and what it leaves is judged."""
