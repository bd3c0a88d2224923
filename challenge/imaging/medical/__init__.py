"""DICOM, MetaImage, NIfTI and NRRD: one frame of numbers."""
