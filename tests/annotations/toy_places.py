"""Where the toy world has each data set."""

PLACES = {
    "coco-captions": "coco/annotations",
    "coco-instances": "coco/annotations",
    "visual-genome": "visual_genome",
    "visual-genome-relationships": "visual_genome",
    "visual-genome-attributes": "visual_genome",
    "gqa": "gqa",
    "gqa-full-answers": "gqa",
    "vqa-v2": "vqa_v2",
    "nlvr2": "nlvr2",
    "flickr30k-entities": "flickr30k_entities",
    "vgp": "vgp",
    "vgp-entities": "flickr30k_entities",
    "refcoco": "refcoco",
    "snli-ve": "snli_ve",
    "winoground": "winoground",
    "lxmert-json": "lxmert/lxmert",
}
