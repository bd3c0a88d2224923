"""The families of pictures: painter, tasks, folders, names, encodings and sizes, as varied as in the real folders."""

from collections.abc import Mapping
from dataclasses import dataclass

from challenge.tasks import TaskKind, TaskSpec, with_extra_tasks
from phantoms.anatomy import abdominal, fetal, superficial
from phantoms.anatomy.picture import Painter

EXTRA_TASKS = (
    TaskSpec("breast_lesion_det", TaskKind.DETECTION, 1),
    TaskSpec("fetal_head_biometry", TaskKind.REGRESSION, 4),
)
TASKS: Mapping[str, TaskSpec] = with_extra_tasks(EXTRA_TASKS)
"""All tasks of the phantom folder: the challenge's 27 and two more, as weights may add them."""

_SIZES = ((400, 300), (360, 288), (448, 350))


@dataclass(frozen=True)
class Place:
    """Where a picture and its mask go: patterns below `folder`, with `{word}` and `{number}` to be filled in.

    The image's ending is that of its encoding.
    """

    folder: str
    image: str
    encoding: str = "grey"
    mask: str = ""


@dataclass(frozen=True)
class Family:
    """Pictures of one kind. Case i takes word i, size i and place i, each list from its start again when it ends.

    All rows of one case share its image. There are `per_task // every` cases.
    """

    name: str
    paint: Painter
    tasks: tuple[str, ...]
    places: tuple[Place, ...]
    words: tuple[str, ...] = ("",)
    sizes: tuple[tuple[int, int], ...] = _SIZES
    first: int = 1
    every: int = 1


_BUSI = "Segmentation/Two/Dataset_of_breast_ultrasound_images_780/Dataset_BUSI_with_GT/{word}"
_WHU = "Segmentation/Two/Breast_Cancer_Ultrasound_Image_Dataset_BUSI_WHU_927/BUSI-WHU"
_CCA = "Segmentation/Two/Common Carotid Artery Ultrasound Images"
_LUNG = "Segmentation/Two/Lung (A-lines, B-lines)"
_SPINE = "Detection/One/Ultrasound spinal cord dataset_2,245/Injury localization dataset/Injury localization dataset"
_FIBROID = "Detection/One/Uterine\u00a0fibroid ultrasound images"

FAMILIES: tuple[Family, ...] = (
    Family(
        "breast", superficial.breast, ("breast_lesion", "breast_2cls", "breast_3cls", "breast_lesion_det"),
        (
            Place(_BUSI, "images/{word} ({number})", "rgba", "masks/{word} ({number}).png"),
            Place(_BUSI, "images/{word} ({number})", "jpeg", "masks/{word} ({number}).png"),
            Place(_WHU, "img/{number:05d}", "bmp", "gt/{number:05d}.bmp"),
        ),
        ("benign", "malignant"), ((470, 395), (400, 320), (360, 300)), 383,
    ),
    Family(
        "normal breast", superficial.normal_breast, ("breast_3cls",),
        (Place(_BUSI, "images/{word} ({number})", "palette"),), ("normal",), every=3,
    ),
    Family(
        "thyroid", superficial.thyroid, ("thyroid_nodule", "thyroid_nodule_det"),
        (
            Place("Segmentation/Two/DDTI v1.0.2", "images/{number}_1", "camera", "masks/{number}_1.png"),
            Place("Segmentation/Two/TN3K.test", "image/{number:04d}", "jpeg", "mask/{number:04d}.jpg"),
        ),
        first=113,
    ),
    Family(
        "carotid", superficial.carotid, ("carotid_artery",),
        (Place(_CCA, "US images/2022011218060700{number}VAS_slice", "grey", "Expert mask images/{number}.png"),),
        first=27,
    ),
    Family(
        "lung", superficial.lung, ("lung", "lung_2cls"),
        (Place(_LUNG, "img/{number}", "grey and alpha", "msk/{number}.png"),
         Place(_LUNG, "img/{number}", "jpeg", "msk/{number}.png")),
        first=40,
    ),
    Family(
        "head", fetal.head, ("fetal_head", "fetal_head_biometry"),
        (Place("Segmentation/Two/HC18", "training_set/{number:03d}_HC", "grey", "masks/{number:03d}_HC.png"),),
        sizes=((800, 540), (400, 270), (480, 360)), first=4,
    ),
    Family(
        "fetal heart", fetal.thorax, ("fetal_heart",),
        (Place("Segmentation/Two/FOCUS.four-chamber", "img_{number}", "jpeg", "img_{number}_heart.png"),),
    ),
    Family(
        "cervix", abdominal.cervix, ("cervix",),
        (Place("Segmentation/Two/cervix (TVUS)", "{number}", "palette", "{number}_mask.png"),),
    ),
    Family(
        "ovary", abdominal.ovary, ("ovary_tumor",),
        (Place("Segmentation/Two/MMOTU/OTU_2d", "images/{number}", "tinted", "annotations/{number}.PNG"),),
        sizes=((333, 257), (480, 360)),
    ),
    Family(
        "cardiac", abdominal.heart, ("cardiac_multi",),
        (Place("Segmentation/Four/CAMUS", "patient{number:04d}/2CH_ED", "16 bit", "patient{number:04d}/2CH_ED_gt.png"),
         Place("Segmentation/Four/CAMUS", "patient{number:04d}/4CH_ES", "grey", "patient{number:04d}/4CH_ES_gt.png")),
        sizes=((330, 450), (400, 400)), first=11,
    ),
    Family(
        "cervix, lips", abdominal.cervix, ("cervix_multi",),
        (Place("Segmentation/Three/FUGC2025/labeled_data", "images/{number:04d}", "grey", "labels/{number:04d}.png"),),
    ),
    Family(
        "fetal abdomen", fetal.abdomen, ("fetal_abdomen_multi",),
        (Place("Segmentation/Five/FASS", "IMAGES/P{number:02d}_IMG1", "rgba", "MASKS/P{number:02d}_IMG1.png"),),
    ),
    Family(
        "symphysis", fetal.symphysis, ("head_symphysis_multi",),
        (Place("Segmentation/Three/PSFHS", "image_mha/{number:05d}", "grey", "label_mha/{number:05d}.png"),),
        sizes=((256, 256),), first=3744,
    ),
    Family(
        "head position", fetal.head_position, ("fetal_head_pos_cls",),
        (Place("Classification/Eight/head position", "{word}/{number}", "jpeg"),),
        ("OA", "LOA", "LOT", "LOP", "OP", "ROP", "ROT", "ROA"),
    ),
    Family(
        "sacrum position", fetal.sacrum_position, ("fetal_sacral_pos_cls",),
        (Place("Classification/Eight/sacral position", "{word}/{number}", "camera"),),
        ("SA", "LSA", "LST", "LSP", "SP", "RSP", "RST", "RSA"),
    ),
    Family(
        "fetal plane", fetal.plane, ("fetal_plane_cls",),
        (Place("Classification/Six/FETAL_PLANES_ZENODO", "Images/Patient{number:05d}_Plane{word}_1_of_1", "jpeg"),),
        ("2", "3", "5", "6", "4", "1"), ((1500, 1100), (480, 360), (400, 300)), 168,
    ),
    Family(
        "liver lesion", abdominal.liver_lesion, ("liver_lesion_2cls",),
        (Place("Classification/Two/B-mode (liver)", "{word}/{number}", "jpeg"),), ("Benign", "Malignant"), first=200,
    ),
    Family(
        "lung disease", superficial.lung_disease, ("lung_disease_3cls",),
        (Place("Classification/Three/POCUS", "{word}/{word}_video.mp4_{number}"),), ("covid", "pneumonia", "regular"),
    ),
    Family(
        "organ", abdominal.organ, ("organ_cls",),
        (Place("Classification/Six/USAnotAI-master", "images/{word}-{number:04d}"),),
        abdominal.ORGANS, ((64, 48), (200, 160), (96, 72)), 41,
    ),
    Family(
        "spinal cord", superficial.spinal_cord, ("spinal_cord_injury_loc",),
        (Place(_SPINE, "part1/scaled-dicom-{number}"),), first=996,
    ),
    Family(
        "fibroid", abdominal.fibroid, ("uterine_fibroid_det",),
        (Place(_FIBROID, "train/{number}", "camera"),), first=300,
    ),
    Family(
        "cervical canal", abdominal.cervix, ("FUGC",),
        (Place("Regression/FUGC", "unlabeled_data, part 2/images/{number:04d}", "16 bit"),), first=51,
    ),
    Family(
        "birth", fetal.symphysis, ("IUGC",),
        (Place("Regression/24+25dataset/4000+700/4000part1_512", "image_jpg/{number:05d}", "jpeg"),),
        sizes=((512, 512), (400, 320)), first=878,
    ),
    Family(
        "femur", fetal.femur, ("fetal_femur",),
        (Place("Regression/fetal femur", "FL_{number}.dcm"), Place("Regression/fetal femur", "FL_{number}", "bmp")),
        sizes=((640, 480), (360, 270)), first=5,
    ),
)  # fmt: skip
