// std::min, max and clamp, which NVRTC has not.
#pragma once
#include "portable.cuh"

template <class T>
GPULOAD_FN T smaller(T a, T b) {
    return b < a ? b : a;
}

template <class T>
GPULOAD_FN T larger(T a, T b) {
    return a < b ? b : a;
}

template <class T>
GPULOAD_FN T clamped(T value, T low, T high) {
    return smaller(larger(value, low), high);
}
