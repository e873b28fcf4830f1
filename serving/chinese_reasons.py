"""The reasons that the page may have to show, in Chinese: the server gives them in English, as predict.py does."""

REASONS = (
    (r"damaged: the file ends too early", "文件已损坏：内容不完整"),
    (r"damaged: a text inside it is too large", "文件已损坏：其中附带的文字过长"),
    (r"damaged: its pixels are wrong or incomplete", "文件已损坏：像素数据有误或不完整"),
    (r"damaged: its header is wrong or incomplete", "文件已损坏：文件头有误或不完整"),
    (r"damaged, or a rare kind of (.+) that is not read: .+", "文件已损坏，或是不支持的特殊 {0} 格式：请转换为 JPEG 或 PNG"),
    (r"more than (.+) pixels: make it smaller", "像素数超过 {0}：请缩小后再试"),
    (r"(.+) x (.+) pixels, more than (.+) in all: make it smaller", "{0} × {1} 像素，总数超过 {2}：请缩小后再试"),
    (r"a JPEG of (.+) scans, more than (.+): save it anew", "这个 JPEG 分为 {0} 次扫描，超过 {1} 次：请重新保存"),
    (r"a TIFF of (.+), whose brightness range is unknown: .+", "TIFF 的亮度范围未知：请转换为 8 位或 16 位"),
    (r"camera RAW, .+", "相机 RAW 文件尚未冲洗：请先转换为 JPEG"),
    (r"(HEIC|AVIF)[:,] .+", "服务器不支持 {0}：请转换为 JPEG"),
    (r"(JPEG 2000|JPEG XL), which is not read: .+", "不支持 {0}：请转换为 JPEG 或 PNG"),
    (r"not an image.*", "不是图片，或格式不受支持"),
    (r"there is no such page", "没有这个页面"),
    (r"(net|class): .+", "服务器上的网络已经换了：请刷新页面"),
    (r"no photograph: .+", "没有收到照片"),
    (r"one photograph at a time", "一次只能解释一张照片"),
    (r"(.+) photographs, the most in one request are (.+): .+", "一次上传了 {0} 张照片，最多 {1} 张：请分几次上传"),
    (r"the chunks of the upload have no sizes", "上传数据的格式有误"),
    (r"too large for the memory", "图片过大，内存不足"),
    (r"the upload is larger than (.+) MB: .+", "上传内容超过 {0} MB：请减少张数或缩小照片"),
    (r"too many uploads at once: try again later", "同时上传的内容过多：请稍后再试"),
    (r"(.+) photographs are waiting, the most are (.+): .+", "已有 {0} 张照片在排队，最多 {1} 张：请稍后再试"),
    (r"a fault of the server; .+", "服务器出错，详情见服务器终端"),
    (r"the Host header names another machine: .+", "请求的主机名不是这台服务器：启动时加 --allow_hosts 名称 即可使用该名称"),
    (r"the request comes from a page of another site", "请求来自其他网站的页面"),
)
"""(a regular expression of the whole reason, for Python with re.DOTALL and JavaScript with the flag s; its text, where {0}
stands for the first group)."""
