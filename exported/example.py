"""The three most probable classes of a photograph: python example.py PHOTOGRAPH (needs onnxruntime, numpy and Pillow)."""

import io, json, math, os, sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: it would make an id of this device
import numpy as np, onnxruntime
from PIL import Image, ImageCms, ImageOps

session = onnxruntime.InferenceSession(os.path.join(os.path.dirname(os.path.abspath(__file__)), "model.onnx"))
facts = session.get_modelmeta().custom_metadata_map
size, share = int(facts["image_size"]), float(facts["crop_share"])  # 0: the network sees the whole photograph
with Image.open(sys.argv[1]) as photograph:
    whole = photograph.size
    sides = [max(whole)] * 2 if facts["eval_crop"] == "letterbox" else [min(whole) * share] * 2 if share else whole
    enough = min(1, max(size / side for side in sides))
    draft = photograph.draft(None, [math.ceil(side * enough) for side in whole])  # decodes a JPEG at a part of its size
    scale = [drafted / side for drafted, side in zip(draft[1][2:] if draft else whole, whole)]
    white = Image.new("RGBA", photograph.size, "white")  # under transparent pixels
    image = Image.alpha_composite(white, photograph.convert("RGBA")).convert("RGB")
    turned, profile = photograph.getexif().get(0x0112, 1), photograph.info.get("icc_profile") or b""
box = [(w + sign * min(w, s)) / 2 * x for sign in (-1, 1) for w, s, x in zip(whole, sides, scale)]
image = image.resize([max(1, round(size * min(w, s) / s)) for w, s in zip(whole, sides)], Image.Resampling.BILINEAR, box=box)
if profile[16:20] == b"RGB " and b"sRGB" not in profile.replace(b"\0", b""):  # such as the Display P3 of telephones
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(image, source, srgb, 1, "RGB", flags=0x2000)
image.getexif()[0x0112] = turned  # how the camera was held
upright = ImageOps.pad(ImageOps.exif_transpose(image), (size, size), color="#727272")  # the bars of a letterbox
probabilities = session.run(None, {"images": np.asarray(upright).transpose(2, 0, 1)[None]})[0][0]  # uint8 [1, 3, size, size]
for label in np.argsort(-probabilities)[:3]:
    print(f"{probabilities[label]:6.1%}  {json.loads(facts['classes'])[label]}")
