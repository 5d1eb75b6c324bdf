"""
deepreg_meta: deformable registration with networks trained to be adapted.

Importing the package chooses Keras 2, and on x86 processors oneDNN's convolutions, for
a TensorFlow that is imported later, and costs nothing; `register()` imports TensorFlow
and puts the entries of this package into DeepReg's registries.
"""

import os
import platform
import sys

if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    if platform.machine().lower() in ("x86_64", "amd64"):
        # TensorFlow does so itself on processors with AVX-512 VNNI or newer alone; on
        # others a step of a 3-D network takes 7 to 9 times as long (bench/onednn.py)
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"


def register() -> None:
    """
    Cure DeepReg's faults and register our models, backbones, losses and augmentations.

    A second call does nothing.

    :raises ImportError: when DeepReg, TensorFlow or tf-keras is missing or too old.
    """
    from deepreg_meta import compat

    compat.apply()
    import deepreg_meta.backbone.dirnet
    import deepreg_meta.backbone.fcn_ss
    import deepreg_meta.backbone.identity
    import deepreg_meta.backbone.local
    import deepreg_meta.backbone.meta_regularized
    import deepreg_meta.backbone.unet_transposed
    import deepreg_meta.backbone.voxelmorph
    import deepreg_meta.dataset.frame_mask
    import deepreg_meta.dataset.picture_loader
    import deepreg_meta.dataset.random_field
    import deepreg_meta.loss.deform
    import deepreg_meta.loss.label
    import deepreg_meta.model.build  # noqa: F401
