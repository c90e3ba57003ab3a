// All that nvimgcodec.h needs of CUDA's header, so that jpeg.cpp compiles without CUDA's toolkit.
#pragma once
#include <stddef.h>
typedef struct CUstream_st* cudaStream_t;
