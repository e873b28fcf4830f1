// The end of a residual block on CUDA devices, feature maps [images, plane, channels]; block_end.h has the algebra.
//
// Neighbouring threads read neighbouring channels, so every access to memory is whole; the statistics of a plane are sums down
// its column. The shuffle makes neighbours of channel c of the first half and channel c of the second: with attention a thread
// has both, and interleaves them in its registers. A plane is spread over several blocks, so its statistics and their use are
// launches of their own. All arithmetic is float32. No sum uses atomics: every sum has a fixed order, and two runs give the
// same bits.
//
// Feature maps that pass through memory, compared with the minimum for any implementation (block_end_planes.cuh):
//
//     forward   attention + residual                    x; x, residual -> out                                   4, least 3
//               batch norm, batch statistics            x; x (residual) -> out                                  4, least 4
//     backward  attention + residual + ReLU             x, dout, out -> dresidual; x, dresidual -> dx           7, least 5
//               batch norm, batch statistics            x, dout, out -> dresidual; x, dresidual -> dx           7, least 7
//               the same without residual               x, dout; x, dout -> dx                                  5, least 5
//
// In a training step every call has batch statistics; what is not at its least, evaluation and frozen batch norms, are.
#pragma once

#include "block_end_device.cuh"

namespace block_end {

// ---- Where a thread works, and how it reads

// A thread's channels are numbered as the output has them: with attention number 2 i + b is the i-th of its channels in half b.
template <typename L>
struct Column {
  int64_t image;
  int input, output;  // the first channel; with attention the input has others half of all channels further
  int slot;           // the first channel's number among those of the block
  int row, rows;      // of threads
  int first, end;     // positions of the plane, of which the thread has each one that is `row` modulo `rows`
  int chunk, chunks;  // of the plane
  bool exists;
};

template <typename L>
__device__ __forceinline__ int first_column(const Geometry &g, int &chunk) {
  const int columns = g.channels / L::channels, blocks = (columns + g.width - 1) / g.width;
  chunk = static_cast<int>(blockIdx.x) / blocks;
  return (static_cast<int>(blockIdx.x) - chunk * blocks) * g.width;
}

template <typename L>
__device__ __forceinline__ Column<L> column_of(const Geometry &g) {
  Column<L> c;
  const int x = threadIdx.x % g.width;
  const int column = first_column<L>(g, c.chunk) + x;
  c.exists = column < g.channels / L::channels;
  c.image = image_of_block(g);
  c.input = column * L::vector;
  c.output = column * L::channels;
  c.slot = x * L::channels;
  c.row = threadIdx.x / g.width;
  c.rows = L::block / g.width;
  c.chunks = (g.plane + g.chunk - 1) / g.chunk;
  c.first = c.chunk * g.chunk;
  c.end = c.first + g.chunk < g.plane ? c.first + g.chunk : g.plane;
  return c;
}

// The channel of the input whose number is `slot` among those of the block; -1: beyond the last.
template <typename L>
__device__ __forceinline__ int channel_of_slot(const Geometry &g, int slot) {
  int chunk;
  const int column = first_column<L>(g, chunk) + slot / L::channels, e = slot % L::channels;
  if (column >= g.channels / L::channels) return -1;
  return L::attention ? column * L::vector + e / 2 + e % 2 * (g.channels / 2) : column * L::vector + e;
}

// A thread's channels of the input at one position.
template <typename T, typename L>
struct InputValues {
  using Part = Vector<T, L::vector>;
  Part part[L::parts];

  __device__ __forceinline__ void load(const T *position, int channels) {
#pragma unroll
    for (int b = 0; b < L::parts; ++b) part[b] = *reinterpret_cast<const Part *>(position + b * (channels / 2));
  }
  __device__ __forceinline__ void store(T *position, int channels) const {
#pragma unroll
    for (int b = 0; b < L::parts; ++b) *reinterpret_cast<Part *>(position + b * (channels / 2)) = part[b];
  }
  __device__ __forceinline__ float get(int e) const { return part[e % L::parts].get(e / L::parts); }
  __device__ __forceinline__ void set(int e, float value) { part[e % L::parts].set(e / L::parts, value); }
};

// The same of the output, where they are neighbours. One by one where memory may be aligned to single elements only.
template <typename T, typename L>
struct OutputValues {
  static constexpr int kAtOnce = L::vector > 1 ? L::channels : 1;
  using Part = Vector<T, kAtOnce>;
  Part part[L::channels / kAtOnce];

  __device__ __forceinline__ void load(const T *position) {
#pragma unroll
    for (int b = 0; b < L::channels / kAtOnce; ++b) part[b] = reinterpret_cast<const Part *>(position)[b];
  }
  __device__ __forceinline__ void store(T *position) const {
#pragma unroll
    for (int b = 0; b < L::channels / kAtOnce; ++b) reinterpret_cast<Part *>(position)[b] = part[b];
  }
  __device__ __forceinline__ float get(int e) const { return part[e / kAtOnce].get(e % kAtOnce); }
  __device__ __forceinline__ void set(int e, float value) { part[e / kAtOnce].set(e % kAtOnce, value); }
  __device__ __forceinline__ void clear(int e) { part[e / kAtOnce].clear(e % kAtOnce); }
};

// load(k, offset) for up to UNROLL of the thread's positions, so that they wait for memory together, then work(k, offset) for
// the same, until all are done. offset: of the position in [plane, channels]. More at once would take registers from other
// threads, whose loads are as good.
template <int UNROLL, typename L, typename Load, typename Work>
__device__ __forceinline__ void for_positions(const Column<L> &c, int channels, Load load, Work work) {
  if (!c.exists) return;
  for (int position = c.first + c.row; position < c.end; position += UNROLL * c.rows) {
#pragma unroll
    for (int k = 0; k < UNROLL; ++k) {
      const int p = position + k * c.rows;
      if (p < c.end) load(k, static_cast<int64_t>(p) * channels);
    }
#pragma unroll
    for (int k = 0; k < UNROLL; ++k) {
      const int p = position + k * c.rows;
      if (p < c.end) work(k, static_cast<int64_t>(p) * channels);
    }
  }
}

// values[v][e] = the v-th value that make(channel, values) gives the thread's channel e. A block makes each channel's once.
template <typename L, int COUNT, typename Make>
__device__ __forceinline__ void per_channel(const Geometry &g, const Column<L> &c, float (&values)[COUNT][L::channels],
                                            Make make) {
  __shared__ float shared[COUNT][L::max_width * L::channels];
  const int slot = threadIdx.x;
  if (slot < g.width * L::channels) {
    const int channel = channel_of_slot<L>(g, slot);
    float made[COUNT];
#pragma unroll
    for (int v = 0; v < COUNT; ++v) made[v] = 0.f;
    if (channel >= 0) make(channel, made);
#pragma unroll
    for (int v = 0; v < COUNT; ++v) shared[v][slot] = made[v];
  }
  __syncthreads();
#pragma unroll
  for (int v = 0; v < COUNT; ++v) {
#pragma unroll
    for (int e = 0; e < L::channels; ++e) values[v][e] = shared[v][c.slot + e];
  }
}

// read(v, row): the v-th value of a channel that the thread of this row had.
template <typename L>
struct OfRows {
  const float (*shared)[L::block * L::channels];
  int slots, slot;

  __device__ __forceinline__ float operator()(int v, int row) const { return shared[v][row * slots + slot]; }
};

// use(channel, read) for each channel of the block, in one thread.
template <typename L, int COUNT, typename Use>
__device__ __forceinline__ void over_rows(const Geometry &g, const Column<L> &c, const float (&values)[COUNT][L::channels],
                                          Use use) {
  __shared__ float shared[COUNT][L::block * L::channels];
  const int slots = g.width * L::channels;
#pragma unroll
  for (int v = 0; v < COUNT; ++v) {
#pragma unroll
    for (int e = 0; e < L::channels; ++e) shared[v][c.row * slots + c.slot + e] = values[v][e];
  }
  __syncthreads();
  const int slot = threadIdx.x;
  const int channel = slot < slots ? channel_of_slot<L>(g, slot) : -1;
  if (channel >= 0) use(channel, OfRows<L>{shared, slots, slot});
}

// Where a block leaves what it has of a channel: [images, chunks, channels].
template <typename L>
__device__ __forceinline__ int64_t place_of_chunk(const Geometry &g, const Column<L> &c, int channel) {
  return (c.image * c.chunks + c.chunk) * g.channels + channel;
}

// ---- Forward

// Takes one more value in: the mean and the sum of the squares of the deviations from it (Welford, 1962).
__device__ __forceinline__ void take_in(float value, float per_count, float &mean, float &squares) {
  const float deviation = value - mean;
  mean = fmaf(deviation, per_count, mean);
  squares = fmaf(deviation, value - mean, squares);
}

// Mean and biased variance of each channel over the block's chunk.
template <typename T, typename L>
__device__ __forceinline__ void measure_columns(const ForwardTask<T> &task) {
  constexpr int kUnroll = 8 / sizeof(T);
  const Geometry &g = task.geometry;
  const Column<L> c = column_of<L>(g);
  const T *x = task.data.x + c.image * g.plane * g.channels + c.input;
  float moments[2][L::channels] = {};
  int count = 0;
  InputValues<T, L> values[kUnroll];
  for_positions<kUnroll>(
      c, g.channels, [&](int k, int64_t offset) { values[k].load(x + offset, g.channels); },
      [&](int k, int64_t) {
        const float per_count = __fdividef(1.f, static_cast<float>(++count));
#pragma unroll
        for (int e = 0; e < L::channels; ++e) take_in(values[k].get(e), per_count, moments[0][e], moments[1][e]);
      });
  over_rows<L, 2>(g, c, moments, [&](int channel, const OfRows<L> &read) {
    // By the formula of Chan, Golub and LeVeque (1979), row by row
    float mean = 0.f, squares = 0.f, total = 0.f;
    for (int row = 0; row < c.rows && c.first + row < c.end; ++row) {
      const float rows = static_cast<float>((c.end - c.first - row + c.rows - 1) / c.rows);  // positions of this row
      total += rows;
      const float deviation = read(0, row) - mean, share = rows / total;
      mean = fmaf(deviation, share, mean);
      squares += fmaf(deviation * deviation, (total - rows) * share, read(1, row));
    }
    reinterpret_cast<float2 *>(task.data.plane_stats)[place_of_chunk(g, c, channel)] = make_float2(mean, squares / total);
  });
}

// The gate of a plane, from the statistics that earlier launches left.
template <typename Data>
__device__ __forceinline__ Gate gate_of_plane(const Data &data, const Geometry &g, const Place &place, const Norm &norm,
                                              float epsilon) {
  float2 moments = make_float2(norm.mean, 0.f);  // without attention: any center will do
  if (g.half > 0) moments = reinterpret_cast<const float2 *>(data.plane_stats)[place.input];
  return gate_of(parameters_of(data.attention, place), g, place, norm, moments, epsilon);
}

// What all passes need of a Gate, for each of a thread's channels.
enum OfGate { kCenter, kScale, kMeanZ, kSlope, kOffset, kOfGate };

template <int COUNT>
__device__ __forceinline__ void put_gate(const Gate &gate, float (&values)[COUNT]) {
  values[kCenter] = gate.center;
  values[kScale] = gate.scale;
  values[kMeanZ] = gate.mean_z;
  values[kSlope] = gate.scaled_slope;
  values[kOffset] = gate.scaled_offset;
}

// z and the gate of one element, from what put_gate left.
template <typename L, int COUNT>
struct Element {
  float xc, z, g;

  __device__ __forceinline__ Element(const float (&of_gate)[COUNT][L::channels], int e, float x)
      : xc(x - of_gate[kCenter][e]), z(fmaf(of_gate[kScale][e], xc, of_gate[kMeanZ][e])),
        g(L::attention ? sigmoid_scaled(fmaf(of_gate[kSlope][e], xc, of_gate[kOffset][e])) : 1.f) {}
};

// out = z * gate (+ residual) (then ReLU, in which NaN stays NaN).
template <typename T, typename L>
__device__ __forceinline__ void apply_columns(const ForwardTask<T> &task) {
  constexpr int kUnroll = 8 / sizeof(T);
  const Forward<T, float> &data = task.data;
  const Geometry &g = task.geometry;
  const Column<L> c = column_of<L>(g);
  float of_gate[kOfGate][L::channels];
  per_channel<L, kOfGate>(g, c, of_gate, [&](int channel, float(&values)[kOfGate]) {
    const Place place = place_of(g, c.image, channel);
    const Norm norm = forward_norm(task, place, c.image == 0 && c.chunk == 0);
    put_gate(gate_of_plane(data, g, place, norm, task.attention_epsilon), values);
  });
  const int64_t start = c.image * g.plane * g.channels;
  const T *x = data.x + start + c.input, *residual = data.residual == nullptr ? nullptr : data.residual + start + c.output;
  T *out = data.out + start + c.output;
  InputValues<T, L> values[kUnroll];
  OutputValues<T, L> added[kUnroll];
  for_positions<kUnroll>(
      c, g.channels,
      [&](int k, int64_t offset) {
        values[k].load(x + offset, g.channels);
        if (residual != nullptr) added[k].load(residual + offset);
      },
      [&](int k, int64_t offset) {
        OutputValues<T, L> result;
#pragma unroll
        for (int e = 0; e < L::channels; ++e) {
          const Element<L, kOfGate> element(of_gate, e, values[k].get(e));
          float y = element.z * element.g;
          if (residual != nullptr) y += added[k].get(e);
          if (task.relu && y < 0.f) y = 0.f;
          result.set(e, y);
        }
        result.store(out + offset);
      });
}

template <typename T, typename L>
__device__ __forceinline__ void forward_columns(const ForwardTask<T> &task) {
  if (task.apply) {
    apply_columns<T, L>(task);
  } else {
    measure_columns<T, L>(task);
  }
}

// ---- Backward

// The sums of each channel over the block's chunk, as PlaneSums, which are linear in them; d to the residual.
template <typename T, typename L>
__device__ __forceinline__ void reduce_columns(const BackwardTask<T> &task) {
  constexpr int kUnroll = 4 / sizeof(T), kSums = L::attention ? 4 : 2;
  const Backward<T, float> &data = task.data;
  const Geometry &g = task.geometry;
  const Column<L> c = column_of<L>(g);
  const auto gate_of_channel = [&](int channel) {
    const Place place = place_of(g, c.image, channel);
    const Norm norm = norm_of(data.norm_weight, data.norm_bias, data.channel_stats, channel);
    return gate_of_plane(data, g, place, norm, task.attention_epsilon);
  };
  float of_gate[kOfGate][L::channels];
  per_channel<L, kOfGate>(g, c, of_gate,
                          [&](int channel, float(&values)[kOfGate]) { put_gate(gate_of_channel(channel), values); });

  const int64_t start = c.image * g.plane * g.channels;
  const T *x = data.x + start + c.input, *dout = data.dout + start + c.output, *out = data.out + start + c.output;
  T *dresidual = data.dresidual + start + c.output;
  float sums[kSums][L::channels] = {};  // d g, d g xc, u, u xc
  InputValues<T, L> values[kUnroll];
  OutputValues<T, L> gradients[kUnroll], signs[kUnroll];
  for_positions<kUnroll>(
      c, g.channels,
      [&](int k, int64_t offset) {
        values[k].load(x + offset, g.channels);
        gradients[k].load(dout + offset);
        if (task.by_out) signs[k].load(out + offset);
      },
      [&](int k, int64_t offset) {
#pragma unroll
        for (int e = 0; e < L::channels; ++e) {
          const Element<L, kOfGate> element(of_gate, e, values[k].get(e));
          if (task.by_out ? !(signs[k].get(e) > 0.f) : task.by_sign && !(element.z > 0.f)) gradients[k].clear(e);
          const float dg = gradients[k].get(e) * element.g;
          sums[0][e] += dg;
          sums[1][e] = fmaf(dg, element.xc, sums[1][e]);
          if (L::attention) {
            const float dgz = dg * element.z, u = fmaf(-dgz, element.g, dgz);
            sums[kSums - 2][e] += u;
            sums[kSums - 1][e] = fmaf(u, element.xc, sums[kSums - 1][e]);
          }
        }
        if (data.dresidual != nullptr) gradients[k].store(dresidual + offset);
      });

  over_rows<L, kSums>(g, c, sums, [&](int channel, const OfRows<L> &read) {
    float totals[4] = {0.f, 0.f, 0.f, 0.f};
    for (int row = 0; row < c.rows; ++row) {
#pragma unroll
      for (int v = 0; v < kSums; ++v) totals[v] += read(v, row);
    }
    const float rest[2] = {totals[0], totals[1]}, of_u[2] = {totals[2], totals[3]};
    PlaneSums result = {0.f, 0.f, rest[0], rest[1]};
    if (L::attention) {
      const Gate gate = gate_of_channel(channel);
      result = {of_u[0], 0.f, fmaf(of_u[0], gate.cweight, rest[0]), rest[1]};  // in the channel branch u sums to dB
      if (place_of(g, c.image, channel).spatial) result = spatial_sums(of_u, rest, gate, task.attention_epsilon);
    }
    task.sums[place_of_chunk(g, c, channel)] = result;
  });
}

// dx = scale * (d g + A (u - line)) + line, as in a plane by itself.
template <typename T, typename L>
__device__ __forceinline__ void differentiate_columns(const BackwardTask<T> &task) {
  enum { kPlainSlope = kOfGate, kGateAtCenter, kGatePerXc, kRestAtCenter, kRestPerXc, kAll };
  constexpr int kUnroll = 4 / sizeof(T);
  const Backward<T, float> &data = task.data;
  const Geometry &g = task.geometry;
  const Column<L> c = column_of<L>(g);
  float of_gate[kAll][L::channels];
  per_channel<L, kAll>(g, c, of_gate, [&](int channel, float(&values)[kAll]) {
    const Place place = place_of(g, c.image, channel);
    const Norm norm = norm_of(data.norm_weight, data.norm_bias, data.channel_stats, channel);
    const Gate gate = gate_of_plane(data, g, place, norm, task.attention_epsilon);
    const GradientLines lines = gradient_lines(task, norm, gate, place, task.sums[place.input]);
    put_gate(gate, values);
    values[kPlainSlope] = gate.slope;
    values[kGateAtCenter] = lines.gate.at_center;
    values[kGatePerXc] = lines.gate.per_xc;
    values[kRestAtCenter] = lines.rest.at_center;
    values[kRestPerXc] = lines.rest.per_xc;
  });

  const int64_t start = c.image * g.plane * g.channels;
  const bool masked = data.dresidual != nullptr;  // the first launch wrote d there
  const T *x = data.x + start + c.input, *d = (masked ? data.dresidual : data.dout) + start + c.output;
  T *dx = data.dx + start + c.input;
  InputValues<T, L> values[kUnroll];
  OutputValues<T, L> gradients[kUnroll];
  for_positions<kUnroll>(
      c, g.channels,
      [&](int k, int64_t offset) {
        values[k].load(x + offset, g.channels);
        gradients[k].load(d + offset);
      },
      [&](int k, int64_t offset) {
        InputValues<T, L> result;
#pragma unroll
        for (int e = 0; e < L::channels; ++e) {
          const Element<L, kAll> element(of_gate, e, values[k].get(e));
          float gradient = gradients[k].get(e);
          if (!masked && task.by_sign && !(element.z > 0.f)) gradient = 0.f;
          const float dg = gradient * element.g, xc = element.xc;
          float derivative = fmaf(of_gate[kScale][e], dg, fmaf(of_gate[kRestPerXc][e], xc, of_gate[kRestAtCenter][e]));
          if (L::attention) {
            const float dgz = dg * element.z, u = fmaf(-dgz, element.g, dgz);
            const float line = fmaf(of_gate[kGatePerXc][e], xc, of_gate[kGateAtCenter][e]);
            derivative = fmaf(of_gate[kPlainSlope][e], u - line, derivative);
          }
          result.set(e, derivative);
        }
        result.store(dx + offset, g.channels);
      });
}

template <typename T, typename L>
__device__ __forceinline__ void backward_columns(const BackwardTask<T> &task) {
  if (task.reduce) {
    reduce_columns<T, L>(task);
  } else {
    differentiate_columns<T, L>(task);
  }
}

// ---- Between the launches

// A thread a plane.
__device__ __forceinline__ void join_chunks(const JoinTask &task) {
  const int64_t plane = static_cast<int64_t>(blockIdx.x) * kReductionThreads + threadIdx.x;
  if (plane >= task.planes) return;
  const int64_t image = plane / task.channels;
  const int chunks = (task.plane + task.chunk - 1) / task.chunk;
  const int64_t first = image * chunks * task.channels + (plane - image * task.channels);
  if (task.statistics) {
    const float2 *stats = reinterpret_cast<const float2 *>(task.of_chunks) + first;
    const float last = static_cast<float>(task.plane - (chunks - 1) * task.chunk), all = static_cast<float>(task.plane);
    const float near = stats[0].x;  // the mean in its distance from it: no digits lost where planes differ little
    float distance = 0.f, variance = 0.f;
    for (int i = 0; i < chunks; ++i) {
      distance = fmaf(i == chunks - 1 ? last : task.chunk, stats[static_cast<int64_t>(i) * task.channels].x - near, distance);
    }
    const float mean = near + distance / all;
    for (int i = 0; i < chunks; ++i) {
      const float2 one = stats[static_cast<int64_t>(i) * task.channels];
      variance = fmaf(i == chunks - 1 ? last : task.chunk, fmaf(one.x - mean, one.x - mean, one.y), variance);
    }
    reinterpret_cast<float2 *>(task.joined)[plane] = make_float2(mean, variance / all);
  } else {
    const PlaneSums *sums = reinterpret_cast<const PlaneSums *>(task.of_chunks) + first;
    PlaneSums total = {0.f, 0.f, 0.f, 0.f};
    for (int i = 0; i < chunks; ++i) {
      const PlaneSums one = sums[static_cast<int64_t>(i) * task.channels];
      total = {total.sum_u + one.sum_u, total.sum_u_zhat + one.sum_u_zhat, total.sum_dz + one.sum_dz,
               total.sum_dz_xc + one.sum_dz_xc};
    }
    reinterpret_cast<PlaneSums *>(task.joined)[plane] = total;
  }
}

}  // namespace block_end
