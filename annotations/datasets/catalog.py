"""The public data sets that become sentences. A new one is a file like `flickr30k_entities.py` and a line below."""

from annotations.datasets.data_set import DataSet
from annotations.tables import Table

DATA_SETS: Table[DataSet] = Table(
    {
        "coco-captions": "annotations.datasets.coco:CAPTIONS_DATA_SET",
        "coco-instances": "annotations.datasets.coco:INSTANCES_DATA_SET",
        "visual-genome": "annotations.datasets.visual_genome_sentences:DESCRIPTIONS_DATA_SET",
        "visual-genome-relationships": "annotations.datasets.visual_genome_sentences:RELATIONSHIPS_DATA_SET",
        "visual-genome-attributes": "annotations.datasets.visual_genome_sentences:ATTRIBUTES_DATA_SET",
        "gqa": "annotations.datasets.gqa:DATA_SET",
        "gqa-full-answers": "annotations.datasets.gqa:FULL_ANSWERS_DATA_SET",
        "vqa-v2": "annotations.datasets.vqa_v2:DATA_SET",
        "nlvr2": "annotations.datasets.nlvr2:DATA_SET",
        "flickr30k-entities": "annotations.datasets.flickr30k_entities:DATA_SET",
        "vgp": "annotations.datasets.vgp:DATA_SET",
        "vgp-entities": "annotations.datasets.vgp_entities:DATA_SET",
        "refcoco": "annotations.datasets.refcoco:DATA_SET",
        "snli-ve": "annotations.datasets.snli_ve:DATA_SET",
        "winoground": "annotations.datasets.winoground:DATA_SET",
        "lxmert-json": "annotations.datasets.lxmert_json:DATA_SET",
    }
)
