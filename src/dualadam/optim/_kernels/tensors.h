// What torch says about its tensors, asked through its stable C interface (aoti_torch_get_...).
// A handle of that interface points to a pointer to the tensor's implementation. Python gives that
// pointer as Tensor._cdata, so an entry of a table of them is what a handle points to.
#pragma once

#include <cstdint>

#include "permuted.h"

namespace {

using Handle = const void*;

struct Torch {  // each function returns 0, or an error
  std::int32_t (*data_ptr)(Handle tensor, void** result);
  std::int32_t (*dtype)(Handle tensor, std::int32_t* result);
  std::int32_t (*device_type)(Handle tensor, std::int32_t* result);
  std::int32_t (*device_index)(Handle tensor, std::int32_t* result);
  std::int32_t (*dim)(Handle tensor, std::int64_t* result);
  std::int32_t (*sizes)(Handle tensor, const std::int64_t** result);
  std::int32_t (*strides)(Handle tensor, const std::int64_t** result);
};

constexpr std::int32_t UINT8 = 0;  // of c10::ScalarType

struct Description {
  void* address;
  std::int32_t dtype, device_type, device_index;
  std::int64_t dim;
  const std::int64_t *sizes, *strides;

  bool read(Handle tensor, const Torch& torch) {
    return !torch.device_type(tensor, &device_type) &&
           !torch.device_index(tensor, &device_index) && !torch.dtype(tensor, &dtype) &&
           !torch.dim(tensor, &dim) &&
           !torch.sizes(tensor, &sizes) && !torch.strides(tensor, &strides) &&
           !torch.data_ptr(tensor, &address);
  }

  // Whether the shape and the places of the elements are those of another tensor.
  bool lies_like(const Description& other) const {
    bool same = dim == other.dim;
    for (std::int64_t i = 0; same && i < dim; ++i)
      same = sizes[i] == other.sizes[i] && (sizes[i] == 1 || strides[i] == other.strides[i]);
    return same;
  }

  bool is_contiguous() const {
    std::int64_t expected = 1;
    for (std::int64_t i = dim; i-- > 0; expected *= sizes[i])
      if (sizes[i] != 1 && strides[i] != expected) return false;
    return true;
  }

  // The number of elements, or -1 where they do not fill one stretch of memory. They do where
  // the dimensions, in some order such as that of channels_last, have the strides of that order.
  std::int64_t dense_elements() const {
    std::int64_t count = 1, expected = 1;
    for (std::int64_t i = 0; i < dim; ++i) count *= sizes[i];
    while (count && expected != count) {
      std::int64_t i = 0;
      while (i < dim && (sizes[i] == 1 || strides[i] != expected)) ++i;
      if (i == dim) return -1;
      expected *= sizes[i];
    }
    return count;
  }
};

// Replace the tensors by their addresses, and write the sizes of the first column and the shapes
// that dualadam_step asks for. The last column has steps. 0: a column has two dtypes, the tensors
// of a row do not fit each other, one is not dense, has no memory or is not on the device of the
// first, or moments in 8 bits belong to a parameter that is not contiguous, unless that is
// permitted. 1: they are alike. 2: they also lie, without the steps, at multiples of 16 bytes.
constexpr int COLUMNS = 5;
inline std::int32_t read_alike(std::int64_t num_rows, void** tensors, std::int64_t* sizes,
                               Shape* shapes, const Torch& torch, bool permuted_with_8_bits) {
  std::int32_t dtypes[COLUMNS];
  Description first{};
  std::uintptr_t addressed = 0;  // the bits of all addresses
  for (std::int64_t row = 0; row < num_rows; ++row) {
    Description found[COLUMNS];
    for (int column = 0; column < COLUMNS; ++column) {
      void** const tensor = tensors + column * num_rows + row;
      Description& here = found[column];
      if (!here.read(tensor, torch)) return 0;
      if (!row) dtypes[column] = here.dtype;
      if (!row && !column) first = here;
      if (here.device_type != first.device_type || here.device_index != first.device_index)
        return 0;
      const std::int64_t count = here.dense_elements();
      if (here.dtype != dtypes[column] || count < 0 || (count && !here.address)) return 0;
      if (!column) sizes[row] = count;
      // moments in 8 bits lie in a row, each block with a byte more, in the order of the indices
      const std::int64_t in_blocks = sizes[row] + (sizes[row] + BLOCK - 1) / BLOCK;
      const bool fits = column == COLUMNS - 1 ? count == 1
                        : here.dtype != UINT8 ? here.lies_like(found[0])
                                              : here.dim == 1 && count == in_blocks;
      if (!fits) return 0;
      *tensor = here.address;
      if (column < COLUMNS - 1) addressed |= reinterpret_cast<std::uintptr_t>(here.address);
    }
    const Description& param = found[0];
    if (dtypes[2] == UINT8 && !param.is_contiguous()) {
      if (!permuted_with_8_bits) return 0;
      shapes[row] = {param.dim, param.sizes, param.strides};
    }
  }
  return addressed % 16 ? 1 : 2;
}

}  // namespace
