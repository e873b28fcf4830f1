// What NVRTC compiles: the kernels of one type and layout, or those that have none, by plain names for block_end_driver.cc.
//
// BLOCK_END_TYPE: float, __half or __nv_bfloat16. BLOCK_END_VECTOR, _THREADS, _LOADS: of the Layout; of Columns with threads 0.
#include "block_end.cuh"

#ifdef BLOCK_END_TYPE

using Element = BLOCK_END_TYPE;
#if BLOCK_END_THREADS > 0
using Chosen = block_end::Layout<BLOCK_END_VECTOR, BLOCK_END_THREADS, BLOCK_END_LOADS>;
#else
using Chosen = block_end::Columns<BLOCK_END_VECTOR, BLOCK_END_LOADS != 0>;
#endif

extern "C" __global__ void __launch_bounds__(Chosen::block) forward(const block_end::ForwardTask<Element> task) {
  block_end::forward<Element, Chosen>(task);
}

extern "C" __global__ void __launch_bounds__(Chosen::block, block_end::kBackwardBlocks<Element, Chosen>)
    backward(const block_end::BackwardTask<Element> task) {
  block_end::backward<Element, Chosen>(task);
}

#else

extern "C" __global__ void __launch_bounds__(block_end::kReductionThreads) channels(const block_end::ChannelTask task) {
  block_end::channel_statistics(task);
}

extern "C" __global__ void __launch_bounds__(block_end::kReductionThreads) parameters(const block_end::ParameterTask task) {
  block_end::parameter_gradients(task);
}

extern "C" __global__ void __launch_bounds__(block_end::kReductionThreads) attention(const block_end::AttentionTask task) {
  block_end::attention_gradients(task);
}

extern "C" __global__ void __launch_bounds__(block_end::kReductionThreads) join(const block_end::JoinTask task) {
  block_end::join_chunks(task);
}

#endif
