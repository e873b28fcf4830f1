// Memory that the next call uses again.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

namespace convolution {

class Scratch {
 public:
  // So many bytes, at the beginning of a line of the cache; null where there are not so many.
  void *of(size_t bytes) {
    if (bytes > size_) {
      std::free(data_);
      const size_t page = bytes < kLargePage ? 64 : kLargePage;
      size_ = (bytes + page - 1) / page * page;
      data_ = std::aligned_alloc(page, size_);
      if (data_ == nullptr) size_ = 0;
#ifdef MADV_HUGEPAGE
      if (page == kLargePage && data_ != nullptr) madvise(data_, size_, MADV_HUGEPAGE);  // what is not granted costs nothing
#endif
    }
    return data_;
  }

 private:
  static constexpr size_t kLargePage = 1 << 21;  // many streams, each in pages of its own, would wait for the addresses
  void *data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace convolution
