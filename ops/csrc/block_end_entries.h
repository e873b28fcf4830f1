// The functions of block_end_capi.h that differ only in the Launcher: each way to launch includes them
// once, after naming its own.

extern "C" {

int block_end_forward(int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
                      void *const *pointers, float *workspace, void *stream) {
  Launcher launcher(stream);
  return block_end::forward(launcher, dtype, shape, relu, batch_statistics, values, pointers, workspace);
}

int block_end_backward(int dtype, const int64_t *shape, int relu, int batch_statistics, const double *values,
                       void *const *pointers, float *workspace, void *stream) {
  Launcher launcher(stream);
  return block_end::backward(launcher, dtype, shape, relu, batch_statistics, values, pointers, workspace);
}

int64_t block_end_forward_workspace(const int64_t *shape) {
  return block_end::forward_workspace(block_end::shape_of(shape));
}
int64_t block_end_backward_workspace(const int64_t *shape) {
  return block_end::backward_workspace(block_end::shape_of(shape));
}
}
