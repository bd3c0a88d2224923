"""From a data folder and an answer folder to numbers."""
