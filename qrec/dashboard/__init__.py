"""The live dashboard: `qrec start`.  Flask and its friends are imported only when that runs."""
