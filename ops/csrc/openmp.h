// What is used of OpenMP's library. Its own header comes with GCC, but not with clang, whose code runs on the same library.
#pragma once

extern "C" {
int omp_get_max_threads();
int omp_get_num_threads();
int omp_get_thread_num();
}
