"""Files that broke a reader once, by the reader: which of its files, and what it held."""

import io
import pickle
import tarfile
import zipfile

import numpy as np


def shared_lists(depth):
    """Return a list that is short in memory, and of 2 to the power of `depth` elements where it is written out."""
    value = ["x"]
    for _ in range(depth):
        value = [value, value]
    return value


def in_tar(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name, kind=tarfile.REGTYPE, size=0, **more):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for field, value in more.items():
        setattr(info, field, value)
    return info


def of_negative_size():
    """A header whose size is -512 in base 256: what comes next is the header itself."""
    header = bytearray(member("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def zeros_in_npz(name, num_bytes):
    """A file of a thousandth of what it unpacks to."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{name}.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (num_bytes,)})
        for _ in range(num_bytes >> 20):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def npy_header(header):
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


LAUGHS = b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60))

CORPUS: dict[str, list[tuple[str, bytes]]] = {
    "checkpoint as a pickle": [
        ("w", b"\x80\x02K\x01r\xff\xff\xff\x1f."),
        ("w", b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
        ("w", b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s."),
    ],
    "refcoco": [
        ("refs(unc).p", pickle.dumps([{"split": shared_lists(60)}], protocol=2)),
        ("refs(unc).p", b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
        ("instances.json", b'{"images": [' + b'{"a":' * 100_000),
    ],
    "coco-captions": [
        ("annotations/captions_train2017.json", b'{"images": [' + b'{"a":' * 100_000),
        ("annotations/captions_train2017.json", b'{"images": [{"id": 1' + b"0" * 5000 + b"}]}"),
    ],
    "flickr30k-entities": [("train.txt", b"\x00\n"), ("train.txt", b"a" * 300)],
    "gqa": [
        (
            "train_balanced_questions.json",
            b'{"1": {"imageId": "1", "question": "Is it?", "answer": "no", "fullAnswer": "No.", "types": {}, '
            b'"annotations": {"question": {"' + b"1" * 5000 + b'": "1"}, "answer": {}, "fullAnswer": {}}}}',
        )
    ],
    "vectors as text": [("vectors", b"1" * 5000 + b" 3\ndog 1 2 3\n")],
    "vectors as gensim saves them": [
        ("vectors.vectors.npy", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 40)),
        ("vectors.vectors.npy", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 3)}")),
        ("vectors", b"\x80\x02K\x01r\xff\xff\xff\x1f."),
    ],
    "config.yaml": [
        ("config.yaml", LAUGHS),
        ("config.yaml", b"a: &a {b: *a}"),
        ("config.yaml", b"a: 2001-99-99"),
        ("config.yaml", b"model: {pixel_mean: [" + b"1," * 100_000 + b"]}"),
    ],
    "vocabulary": [("objects_vocab.txt", b"caf\xe9\n")],
    "gold boxes": [("gold.npz", zeros_in_npz("image_ids", 64 << 20))],
    "sentences in arrow": [("manifest.json", b'{"schema_version": 1, "a": NaN}')],
    "list of images, .tar": [
        ("images.tar", of_negative_size()),
        ("images.tar", in_tar((member("a.jpg", tarfile.LNKTYPE, linkname="b.jpg"), b""))),
        ("images.tar", member("././@LongLink", tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT) * 3000),
        ("images.tar", in_tar((member("a", tarfile.XHDTYPE, 20), b"20 GNU.sparse.map=x\n"))),
        (
            "images.tar",
            in_tar((member("a", tarfile.XHDTYPE, 33), b"33 GNU.sparse.size=1\n".ljust(33)), (member("b.jpg"), b"")),
        ),
    ],
    "given boxes": [("boxes.json", b"[" * 100_000), ("boxes.json", b'{"7": [[' + b"1" * 400 + b", 0, 4, 4]]}")],
    "run.jsonl": [
        ("run.jsonl", b'{"event": "start", "time": 1e308}'),
        ("run.jsonl", b'{"event": "start", "time": 1}\n{"event": "shard", "time": 1, "images": "x", "failed": NaN}'),
    ],
    "metrics.jsonl": [("metrics.jsonl", b'{"step": 1, "loss": 1' + b"0" * 400 + b', "terms": {}}\n')],
    "weights of LXMERT": [("config.json", b'{"model_type": "lxmert", "l_layers": 1000000000}')],
    "list of images, .tsv": [("images.tsv", b"1" * 100_000)],
    "features of milvlg-npz": [("COCO_val2014_000000000042.npz", zeros_in_npz("x", 1 << 30))],
}
