"""From a data folder and a folder of predictions to numbers."""
