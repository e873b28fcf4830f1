// Memory that the next call uses again.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace convolution {

// Pages of its own: what is given back when it grows leaves no holes among those of others.
class Scratch {
 public:
  // So many bytes, at the beginning of a page; null where there are not so many.
  void *of(size_t bytes) {
    if (bytes <= size_) return data_;
    if (data_ != nullptr) munmap(data_, size_);
    size_ = (bytes + kPage - 1) / kPage * kPage;
    data_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      size_ = 0;
      return nullptr;
    }
#ifdef MADV_HUGEPAGE
    madvise(data_, size_, MADV_HUGEPAGE);  // many streams, each in pages of its own; where it is not granted, nothing is lost
#endif
    return data_;
  }

  // The same for so many values.
  float *floats(int64_t count) { return static_cast<float *>(of(count * sizeof(float))); }

 private:
  static constexpr size_t kPage = 1 << 16;
  void *data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace convolution
