//! The attributes that are read or written: number, value representation, and keyword.

/// An attribute's number: group in the upper 16 bits, element in the lower.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Tag(pub(crate) u32);

impl Tag {
    pub(crate) fn group(self) -> u16 {
        (self.0 >> 16) as u16
    }

    pub(crate) fn element(self) -> u16 {
        self.0 as u16
    }

    /// What the data dictionary says of this attribute, if slicewise reads or writes it.
    fn entry(self) -> Option<&'static (Tag, [u8; 2], &'static str)> {
        let at = DICTIONARY.binary_search_by_key(&self, |e| e.0).ok()?;
        Some(&DICTIONARY[at])
    }

    /// The value representation that the data dictionary gives, if slicewise reads or writes it.
    pub(crate) fn vr(self) -> Option<[u8; 2]> {
        self.entry().map(|e| e.1)
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((_, _, keyword)) = self.entry() {
            write!(f, "{keyword} ")?;
        }
        write!(f, "({:04X},{:04X})", self.group(), self.element())
    }
}

macro_rules! attributes {
    ($($name:ident $number:literal $vr:literal $keyword:literal;)*) => {
        $(pub(crate) const $name: Tag = Tag($number);)*

        /// In the order of numbers, which a test checks.
        const DICTIONARY: &[(Tag, [u8; 2], &str)] = &[$((Tag($number), *$vr, $keyword)),*];
    };
}

attributes! {
    META_LENGTH 0x0002_0000 b"UL" "FileMetaInformationGroupLength";
    META_VERSION 0x0002_0001 b"OB" "FileMetaInformationVersion";
    MEDIA_SOP_CLASS 0x0002_0002 b"UI" "MediaStorageSOPClassUID";
    MEDIA_SOP_INSTANCE 0x0002_0003 b"UI" "MediaStorageSOPInstanceUID";
    TRANSFER_SYNTAX 0x0002_0010 b"UI" "TransferSyntaxUID";
    IMPLEMENTATION_CLASS 0x0002_0012 b"UI" "ImplementationClassUID";
    IMPLEMENTATION_VERSION 0x0002_0013 b"SH" "ImplementationVersionName";
    CHARACTER_SET 0x0008_0005 b"CS" "SpecificCharacterSet";
    IMAGE_TYPE 0x0008_0008 b"CS" "ImageType";
    SOP_CLASS 0x0008_0016 b"UI" "SOPClassUID";
    SOP_INSTANCE 0x0008_0018 b"UI" "SOPInstanceUID";
    STUDY_DATE 0x0008_0020 b"DA" "StudyDate";
    SERIES_DATE 0x0008_0021 b"DA" "SeriesDate";
    CONTENT_DATE 0x0008_0023 b"DA" "ContentDate";
    STUDY_TIME 0x0008_0030 b"TM" "StudyTime";
    SERIES_TIME 0x0008_0031 b"TM" "SeriesTime";
    CONTENT_TIME 0x0008_0033 b"TM" "ContentTime";
    ACCESSION_NUMBER 0x0008_0050 b"SH" "AccessionNumber";
    MODALITY 0x0008_0060 b"CS" "Modality";
    MANUFACTURER 0x0008_0070 b"LO" "Manufacturer";
    REFERRING_PHYSICIAN 0x0008_0090 b"PN" "ReferringPhysicianName";
    CODE_VALUE 0x0008_0100 b"SH" "CodeValue";
    CODING_SCHEME 0x0008_0102 b"SH" "CodingSchemeDesignator";
    CODE_MEANING 0x0008_0104 b"LO" "CodeMeaning";
    TIMEZONE 0x0008_0201 b"SH" "TimezoneOffsetFromUTC";
    STUDY_DESCRIPTION 0x0008_1030 b"LO" "StudyDescription";
    SERIES_DESCRIPTION 0x0008_103E b"LO" "SeriesDescription";
    MODEL_NAME 0x0008_1090 b"LO" "ManufacturerModelName";
    REFERENCED_SERIES 0x0008_1115 b"SQ" "ReferencedSeriesSequence";
    REFERENCED_INSTANCES 0x0008_114A b"SQ" "ReferencedInstanceSequence";
    REFERENCED_SOP_CLASS 0x0008_1150 b"UI" "ReferencedSOPClassUID";
    REFERENCED_SOP_INSTANCE 0x0008_1155 b"UI" "ReferencedSOPInstanceUID";
    REFERENCED_FRAME_NUMBER 0x0008_1160 b"IS" "ReferencedFrameNumber";
    SOURCE_IMAGES 0x0008_2112 b"SQ" "SourceImageSequence";
    DERIVATION_IMAGES 0x0008_9124 b"SQ" "DerivationImageSequence";
    DERIVATION_CODES 0x0008_9215 b"SQ" "DerivationCodeSequence";
    PATIENT_NAME 0x0010_0010 b"PN" "PatientName";
    PATIENT_ID 0x0010_0020 b"LO" "PatientID";
    PATIENT_BIRTH_DATE 0x0010_0030 b"DA" "PatientBirthDate";
    PATIENT_SEX 0x0010_0040 b"CS" "PatientSex";
    PATIENT_AGE 0x0010_1010 b"AS" "PatientAge";
    PATIENT_SIZE 0x0010_1020 b"DS" "PatientSize";
    PATIENT_WEIGHT 0x0010_1030 b"DS" "PatientWeight";
    SLICE_THICKNESS 0x0018_0050 b"DS" "SliceThickness";
    ECHO_TIME 0x0018_0081 b"DS" "EchoTime";
    SPACING_BETWEEN_SLICES 0x0018_0088 b"DS" "SpacingBetweenSlices";
    DEVICE_SERIAL_NUMBER 0x0018_1000 b"LO" "DeviceSerialNumber";
    SOFTWARE_VERSIONS 0x0018_1020 b"LO" "SoftwareVersions";
    TRIGGER_TIME 0x0018_1060 b"DS" "TriggerTime";
    B_VALUE 0x0018_9087 b"FD" "DiffusionBValue";
    STUDY_INSTANCE 0x0020_000D b"UI" "StudyInstanceUID";
    SERIES_INSTANCE 0x0020_000E b"UI" "SeriesInstanceUID";
    STUDY_ID 0x0020_0010 b"SH" "StudyID";
    SERIES_NUMBER 0x0020_0011 b"IS" "SeriesNumber";
    ACQUISITION_NUMBER 0x0020_0012 b"IS" "AcquisitionNumber";
    INSTANCE_NUMBER 0x0020_0013 b"IS" "InstanceNumber";
    POSITION 0x0020_0032 b"DS" "ImagePositionPatient";
    ORIENTATION 0x0020_0037 b"DS" "ImageOrientationPatient";
    FRAME_OF_REFERENCE 0x0020_0052 b"UI" "FrameOfReferenceUID";
    TEMPORAL_POSITION 0x0020_0100 b"IS" "TemporalPositionIdentifier";
    POSITION_REFERENCE 0x0020_1040 b"LO" "PositionReferenceIndicator";
    STACK_ID 0x0020_9056 b"SH" "StackID";
    FRAME_CONTENT 0x0020_9111 b"SQ" "FrameContentSequence";
    PLANE_POSITION 0x0020_9113 b"SQ" "PlanePositionSequence";
    PLANE_ORIENTATION 0x0020_9116 b"SQ" "PlaneOrientationSequence";
    TEMPORAL_INDEX 0x0020_9128 b"UL" "TemporalPositionIndex";
    DIMENSION_VALUES 0x0020_9157 b"UL" "DimensionIndexValues";
    DIMENSION_ORGANIZATION_UID 0x0020_9164 b"UI" "DimensionOrganizationUID";
    DIMENSION_INDEX_POINTER 0x0020_9165 b"AT" "DimensionIndexPointer";
    DIMENSION_GROUP_POINTER 0x0020_9167 b"AT" "FunctionalGroupPointer";
    DIMENSION_ORGANIZATIONS 0x0020_9221 b"SQ" "DimensionOrganizationSequence";
    DIMENSION_INDICES 0x0020_9222 b"SQ" "DimensionIndexSequence";
    DIMENSION_LABEL 0x0020_9421 b"LO" "DimensionDescriptionLabel";
    SAMPLES_PER_PIXEL 0x0028_0002 b"US" "SamplesPerPixel";
    PHOTOMETRIC 0x0028_0004 b"CS" "PhotometricInterpretation";
    FRAMES 0x0028_0008 b"IS" "NumberOfFrames";
    ROWS 0x0028_0010 b"US" "Rows";
    COLUMNS 0x0028_0011 b"US" "Columns";
    PIXEL_SPACING 0x0028_0030 b"DS" "PixelSpacing";
    BITS_ALLOCATED 0x0028_0100 b"US" "BitsAllocated";
    BITS_STORED 0x0028_0101 b"US" "BitsStored";
    HIGH_BIT 0x0028_0102 b"US" "HighBit";
    PIXEL_REPRESENTATION 0x0028_0103 b"US" "PixelRepresentation";
    PIXEL_PADDING 0x0028_0120 b"US" "PixelPaddingValue";
    PIXEL_PADDING_LIMIT 0x0028_0121 b"US" "PixelPaddingRangeLimit";
    INTERCEPT 0x0028_1052 b"DS" "RescaleIntercept";
    SLOPE 0x0028_1053 b"DS" "RescaleSlope";
    SPATIAL_LOCATIONS_PRESERVED 0x0028_135A b"CS" "SpatialLocationsPreserved";
    LOSSY 0x0028_2110 b"CS" "LossyImageCompression";
    MODALITY_LUT 0x0028_3000 b"SQ" "ModalityLUTSequence";
    PIXEL_MEASURES 0x0028_9110 b"SQ" "PixelMeasuresSequence";
    PIXEL_TRANSFORMATION 0x0028_9145 b"SQ" "PixelValueTransformationSequence";
    PURPOSE_OF_REFERENCE 0x0040_A170 b"SQ" "PurposeOfReferenceCodeSequence";
    SEGMENTATION_TYPE 0x0062_0001 b"CS" "SegmentationType";
    SEGMENTS 0x0062_0002 b"SQ" "SegmentSequence";
    PROPERTY_CATEGORY 0x0062_0003 b"SQ" "SegmentedPropertyCategoryCodeSequence";
    SEGMENT_NUMBER 0x0062_0004 b"US" "SegmentNumber";
    SEGMENT_LABEL 0x0062_0005 b"LO" "SegmentLabel";
    SEGMENT_DESCRIPTION 0x0062_0006 b"ST" "SegmentDescription";
    ALGORITHM_TYPE 0x0062_0008 b"CS" "SegmentAlgorithmType";
    ALGORITHM_NAME 0x0062_0009 b"LO" "SegmentAlgorithmName";
    SEGMENT_IDENTIFICATION 0x0062_000A b"SQ" "SegmentIdentificationSequence";
    REFERENCED_SEGMENT 0x0062_000B b"US" "ReferencedSegmentNumber";
    DISPLAY_CIELAB 0x0062_000D b"US" "RecommendedDisplayCIELabValue";
    PROPERTY_TYPE 0x0062_000F b"SQ" "SegmentedPropertyTypeCodeSequence";
    SEGMENTS_OVERLAP 0x0062_0013 b"CS" "SegmentsOverlap";
    CONTENT_LABEL 0x0070_0080 b"CS" "ContentLabel";
    CONTENT_DESCRIPTION 0x0070_0081 b"LO" "ContentDescription";
    CONTENT_CREATOR 0x0070_0084 b"PN" "ContentCreatorName";
    SHARED_GROUPS 0x5200_9229 b"SQ" "SharedFunctionalGroupsSequence";
    PER_FRAME_GROUPS 0x5200_9230 b"SQ" "PerFrameFunctionalGroupsSequence";
    FLOAT_PIXELS 0x7FE0_0008 b"OF" "FloatPixelData";
    DOUBLE_PIXELS 0x7FE0_0009 b"OD" "DoubleFloatPixelData";
    PIXELS 0x7FE0_0010 b"OW" "PixelData";
    ITEM 0xFFFE_E000 b"  " "Item";
    ITEM_END 0xFFFE_E00D b"  " "ItemDelimitationItem";
    SEQUENCE_END 0xFFFE_E0DD b"  " "SequenceDelimitationItem";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_sorted() {
        assert!(DICTIONARY.is_sorted_by(|a, b| a.0 < b.0));
    }
}
