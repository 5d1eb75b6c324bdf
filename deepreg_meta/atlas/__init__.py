"""
Segmentation by atlases: images whose labels are known are registered to one whose
labels are not, and their warped labels are fused.

    from deepreg_meta.atlas.files import find_files
    from deepreg_meta.atlas.segmenter import segment
    from deepreg_meta.registration import Registrar

    atlases = find_files(["data/images"], ["data/labels"])
    result = segment(Registrar("logs/first"), "target.nii.gz", atlases)
    result.save("segmented")
"""
